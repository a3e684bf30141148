"""What the tables mean: pure functions of frames, from the account of missions to the verdict."""
