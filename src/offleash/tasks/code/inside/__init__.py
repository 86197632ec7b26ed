"""What runs in the interpreter that judges candidate programs. Standard library only; it imports nothing from outside this folder.

zygote          answers one job after the other; for each it forks
  judge         new namespaces, minimal file system; reads the tests after it has forked
    init        process 1 of the candidate's process namespace; cannot be killed or traced from inside
      candidate the program, one process for all calls of a function, or one for each standard input
"""
