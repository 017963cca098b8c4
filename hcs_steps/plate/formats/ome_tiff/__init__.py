"""OME-TIFF: TIFF files of many pages whose OME-XML says what the pages are."""
