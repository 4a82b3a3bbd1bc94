"""Live long, be killed, and be judged: is anything lost, read twice, or never given back?"""
