"""Readers of other programs' stores: one file for each, behind `records.OldStore`."""
