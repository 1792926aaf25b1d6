package stories;

/** The documents of the story. */
public record Wine(String title, int n) {
  static Wine number(int n) {
    return new Wine("wine" + " and water".repeat(n), n);
  }
}
