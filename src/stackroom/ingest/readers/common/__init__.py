"""What several formats need, or all of them: limits, tables, headings, records, mail, markup, readers that are plugged in."""
