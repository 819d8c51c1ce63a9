"""Stackroom."""
