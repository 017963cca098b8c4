"""Where results come from: why they were made, what the stages read, what there is."""
