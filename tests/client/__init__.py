"""The rules of sending and waiting: many loops, threads and forks, a loop that ends, an interpreter that exits."""
