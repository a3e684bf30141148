"""What is shown: the report by section, its JSON twin, the notebooks' execution, and the evidence row."""
