"""GE/Cytiva InCell Analyzer: plates with an ``.xdce`` index."""
