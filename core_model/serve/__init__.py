"""Serve a released model on this machine: a page for people, gRPC for programs. No torch."""
