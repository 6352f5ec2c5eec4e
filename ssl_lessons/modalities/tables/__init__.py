"""Tables: one with tied columns, one with independent ones, three real ones; and what to ask of a row."""
