"""dmarcmilter"""
