"""What people do with runs: start, watch, stop, mend, verify, clean and explain them."""
