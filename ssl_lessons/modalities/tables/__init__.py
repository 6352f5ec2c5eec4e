"""Tables: one whose columns are tied by hidden places, one whose columns are independent, three real ones; what to ask of a row."""
