from ssl_lessons.cli.app import app, main  # noqa: F401
