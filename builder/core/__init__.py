"""What every room may use: errors, files, layout, records, console, worker processes."""
