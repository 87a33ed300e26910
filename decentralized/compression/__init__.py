"""How sparse messages say which parameters they carry."""
