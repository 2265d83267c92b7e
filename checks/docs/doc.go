// Package docs holds nothing but tests: of what README, docs/ and every other Markdown file of this repository say. Each Go
// block is compiled and each command is run, or it is named in a table with what runs it instead; names, links and anchors
// exist; the two languages say the same. A document that is added is covered by that, and one that nobody checks fails.
package docs
