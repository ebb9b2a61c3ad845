// What html-validate asks of every page: that it is valid, that nobody is shut out,
// and that it is a whole document. Each exception has its reason.
export default {
  root: true,
  extends: ["html-validate:standard", "html-validate:a11y", "html-validate:document"],
  rules: {
    // Nothing comes from another host, so there is nothing to hold to a hash.
    "require-sri": "off",
    // The search field of the contents is alone in its form: Enter sends it.
    "wcag/h32": "off",
    // docutils lays out the bibliography as a list of divisions, with these roles.
    "prefer-native-element": ["error", { exclude: ["list", "listitem"] }],
  },
};
