// Package docs holds the tests of the Markdown pages: their Go compiles, their
// links resolve, their commands and names exist, and both languages of a page
// have the same structure. Every failure names the page and the line.
package docs
