"""Everything that only the pages use: style, widgets, and per lesson its figures and its checks."""
