"""`python -m ssl_lessons ...` is `ssl-lessons ...`; torchrun starts its ranks this way."""

from ssl_lessons.cli import main

if __name__ == "__main__":
    main()
