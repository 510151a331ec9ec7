import unittest

from slugs import slug, unique


class Slug(unittest.TestCase):
    def test_letters_and_digits_are_kept(self):
        self.assertEqual(slug("Hello, World 42!"), "hello-world-42")

    def test_accents_are_dropped(self):
        self.assertEqual(slug("Crème brûlée à Genève"), "creme-brulee-a-geneve")

    def test_nothing_is_left_of_symbols(self):
        self.assertEqual(slug("!?"), "")

    def test_it_is_cut_between_words(self):
        self.assertEqual(slug("one two three", limit=9), "one-two")
        self.assertEqual(slug("incomprehensible", limit=6), "incomp")

    def test_the_limit_must_be_positive(self):
        with self.assertRaises(ValueError):
            slug("x", limit=0)


class Unique(unittest.TestCase):
    def test_equal_titles_are_numbered(self):
        self.assertEqual(unique(["A", "a!", "b", "A"]), ["a", "a-2", "b", "a-3"])

    def test_a_number_that_is_taken_is_passed_over(self):
        self.assertEqual(unique(["a-2", "a", "a"]), ["a-2", "a", "a-3"])

    def test_untitled(self):
        self.assertEqual(unique(["", "?"]), ["untitled", "untitled-2"])


if __name__ == "__main__":
    unittest.main()
