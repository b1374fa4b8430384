"""`herd doctor`: what it looks at, what it makes of that, and how it says it."""
