"""Tests that leave the house as they found it, and ask only what holds of one in which others were before."""
