"""Results in the formats of other programs: outlines of objects for ImageJ and QuPath."""
