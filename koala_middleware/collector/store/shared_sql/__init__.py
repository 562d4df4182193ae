"""What both databases do alike: the same questions, asked in the SQL that both understand.

Must not know which database answers.
"""
