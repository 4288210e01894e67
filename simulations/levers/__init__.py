"""What helps a detector that had little data on people at a place nobody trained at?"""
