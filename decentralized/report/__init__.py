"""Run directories to tables, figures and one HTML page. Reads files only: no training code, no torch."""
