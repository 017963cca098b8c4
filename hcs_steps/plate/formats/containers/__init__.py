"""ND2 and CZI: Nikon's and Zeiss' own files, which hold many images each; read with the extra ``formats``."""
