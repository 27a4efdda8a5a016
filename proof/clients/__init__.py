"""Client libraries whose node is killed while they read and write.

Each library runs in a program of its own (`python_program.py`, `node_program.mjs`) against three nodes. The program
writes rising numbers to its own keys and reads each one back. One node is killed with SIGKILL meanwhile. The programs
`python_transactions.py` and `node_transactions.mjs` do the same with transactions.
"""
