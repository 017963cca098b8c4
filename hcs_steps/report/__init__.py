"""What is made of a whole plate: joined tables, and what is missing."""
