package main

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/seed-0142d113/wxqrcode/scanstats"
)

// A statsPage is a server of the report. It lets in those who have its address, in which
// there is a token: on a machine that others use too, loopback is no secret.
type statsPage struct {
	*site
	token   string
	handler http.Handler
}

// openStatsPage opens the socket of a page. The flag is the one that the address came by.
func openStatsPage(flag, addr string, stats *scanstats.Store) (*statsPage, error) {
	p := &statsPage{token: rand.Text()}
	p.handler = stats.Handler(p.protect)
	var err error
	p.site, err = openSite(flag, addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }))
	return p, err
}

// address is what somebody opens in a browser.
func (p *statsPage) address() string { return p.url() + "/?" + tokenParameter + "=" + p.token }

func (p *statsPage) warnIfOpen(show *show) {
	if !p.isLoopback() {
		show.log.Warn("the page of the statistics is not on loopback: its token and its numbers can be read on their way",
			"address", p.listener.Addr().String())
	}
}

const tokenParameter = "token"

// protect lets in who has the token: the first time in the address, which history and logs keep,
// then in a cookie.
func (p *statsPage) protect(page http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		cookie, _ := r.Cookie(p.cookieName())
		switch {
		case !p.answersTo(r.Host):
			refuse(w, fmt.Sprintf("this page does not answer to the name %q; open the address that wxqrcode printed", r.Host))
		case query.Has(tokenParameter) && p.isToken(query.Get(tokenParameter)):
			p.remember(w, r, query)
		case !query.Has(tokenParameter) && cookie != nil && p.isToken(cookie.Value):
			page.ServeHTTP(w, r)
		default:
			refuse(w, "open the address that wxqrcode printed, with its token\n请打开 wxqrcode 输出的完整网址（含 token）")
		}
	})
}

func refuse(w http.ResponseWriter, text string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, text, http.StatusForbidden)
}

func (p *statsPage) isToken(s string) bool {
	return subtle.ConstantTimeCompare([]byte(s), []byte(p.token)) == 1
}

// remember puts the token into a cookie and leads to the same page without it.
func (p *statsPage) remember(w http.ResponseWriter, r *http.Request, query url.Values) {
	query.Del(tokenParameter)
	// One slash: with two it would lead to another host.
	target := url.URL{Path: "/" + strings.TrimLeft(r.URL.Path, `/\`), RawQuery: query.Encode()}
	http.SetCookie(w, &http.Cookie{Name: p.cookieName(), Value: p.token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, target.String(), http.StatusSeeOther)
}

// cookieName has the port, as browsers send cookies to all ports of a host.
func (p *statsPage) cookieName() string {
	return fmt.Sprintf("wxqrcode_stats_%d", p.listener.Addr().(*net.TCPAddr).Port)
}
