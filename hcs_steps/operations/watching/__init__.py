"""What a plate is doing and has done: read from its results, told as text, documents and a live display."""
