"""Tests of streams that outlive their carriers."""
