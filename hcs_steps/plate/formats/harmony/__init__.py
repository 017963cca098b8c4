"""Opera Phenix and Operetta: plates that PerkinElmer's (now Revvity's) Harmony wrote."""
