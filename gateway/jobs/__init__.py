"""Bulk jobs: asked for over HTTP, kept in Redis and a folder, run by a process of their own."""
