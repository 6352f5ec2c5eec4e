"""The book as a static site: written from the saved notebooks, without executing anything."""
