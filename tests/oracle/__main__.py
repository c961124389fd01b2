"""Another implementation of the billing rules, to compare the real one with.

    python3 tests/oracle --seed 1 --count 1000

prints so many random questions to the calculators, one JSON object a line, each with the answer that the rules give:
`{"calculator": "amount", "question": {…}, "answer": {…}}`. `crates/core/tests/oracle.rs` asks the real calculators and
compares. Numbers have 28 significant digits.

It was written from the rules, not from the Rust code, and shall stay so: rational numbers instead of decimals, days
counted one by one instead of computed. It needs nothing but Python 3.9 and its time zone database.
"""

import argparse
import json
import random
import sys

import amount
import credits
import invoice
import periods
import proration
import usage

CALCULATORS = [amount, usage, periods, proration, invoice, credits]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=1000, help="cases of all calculators together")
    arguments = parser.parse_args()
    rnd = random.Random(arguments.seed)
    for i in range(arguments.count):
        calculator = CALCULATORS[i % len(CALCULATORS)]
        question, answer = calculator.case(rnd)
        case = {"calculator": calculator.__name__, "question": question, "answer": answer}
        sys.stdout.write(json.dumps(case, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
