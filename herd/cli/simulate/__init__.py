"""`herd simulate`: runs, comparisons, what has been recorded, and what they look like."""
