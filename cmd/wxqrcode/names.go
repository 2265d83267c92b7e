package main

// The names that stats*.go and demo_stats*.go still use. Remove each as soon as
// these files use the name on the right.
type (
	app    = globalFlags
	show   = console
	site   = httpServer
	report = demoOutput
)

var (
	newShow     = newConsole
	newShowOf   = newConsoleFor
	openSite    = listenHTTP
	makeUpMonth = generateMonth
)

func (s *httpServer) answersTo(host string) bool { return s.allowsHost(host) }

func (d *demoCommand) say(format string, args ...any) error { return d.printf(format, args...) }

func (l *listenCommand) recorded(c *console, printed eventHandler) eventHandler {
	return l.withStats(c, printed)
}
