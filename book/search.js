// How the search weighs what it finds: a name, a term or a formula in whose title
// every word of the query stands whole comes before the pages that mention it.
var Scorer = {
  score: ([page, title, anchor, description, score]) => {
    if (!description) return score;
    const words = (text) => text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? [];
    const asked = words(new URLSearchParams(location.search).get("q") ?? "");
    const name = words(title.split(":")[0]);
    const whole = asked.length > 0 && asked.every((word) => name.includes(word));
    return whole ? score + 20 + (40 * asked.length) / name.length : score;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
