"""PostgreSQL: tables, migrations and every SQL statement; a module a question."""
