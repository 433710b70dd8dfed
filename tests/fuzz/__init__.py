"""Damaged, hostile and absurd inputs by the thousand, for everything that reads what comes from elsewhere.

    python -m tests.fuzz --cases 20000 [--family gif,npz] [--seed 0]

One module of `families` is one family; it is found by itself. Its `case(rng, folder)` writes a case into an empty
folder and returns the call that a command would make on it. The call must come back with what is right, or raise one
clear sentence (VDTError, SimulationError); run nothing, leave nothing behind, and take neither long nor much memory. A
module may also say

    TITLE                 what is tried, for the table
    ALLOWED               audit events that are no fault, such as the start of ffmpeg
    SHARE                 its share of the cases, 1 unless it says so: below 1 where a case takes long
    check(result)         what is wrong with a result, or None
"""
