package faults

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// An authority signs certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// authorities are one that the clients trust and one that they do not know.
var authorities = sync.OnceValue(func() (a struct{ known, unknown authority }) {
	a.known, a.unknown = newAuthority("known"), newAuthority("unknown")
	return a
})

func newAuthority(name string) authority {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	return authority{key, must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key))))}
}

// secureName is the host whose certificate it is.
const secureName = "wechat.test"

// sign returns a certificate of secureName, as change leaves it.
func (a authority) sign(change func(*x509.Certificate)) *tls.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "wechat"}, DNSNames: []string{secureName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	change(c)
	return &tls.Certificate{
		Certificate: [][]byte{must(x509.CreateCertificate(rand.Reader, c, a.cert, &a.key.PublicKey, a.key))},
		PrivateKey:  a.key,
	}
}

func certificateFaults() []fault {
	a := authorities()
	unchanged := func(*x509.Certificate) {}
	return []fault{
		{name: "a certificate of another name", want: 1, as: as[x509.HostnameError], begin: presenting(a.known.sign(func(c *x509.Certificate) {
			c.DNSNames = []string{"other.test"}
		}))},
		{name: "a certificate that nobody known has signed", want: 1, as: as[x509.UnknownAuthorityError], begin: presenting(a.unknown.sign(unchanged))},
		{name: "a certificate that has expired", want: 1, as: as[x509.CertificateInvalidError], begin: presenting(a.known.sign(func(c *x509.Certificate) {
			c.NotAfter = time.Now().Add(-time.Minute)
		}))},
	}
}

// presenting makes the server show a certificate in place of the right one.
func presenting(wrong *tls.Certificate) func(*env) {
	return func(e *env) {
		var shown atomic.Pointer[tls.Certificate]
		shown.Store(wrong)
		right := authorities().known.sign(func(*x509.Certificate) {})
		secure(e, func() *tls.Certificate { return shown.Load() })
		e.end = func() { shown.Store(right) }
	}
}

// secure makes the server one of HTTPS, which asks for its certificate at each handshake.
func secure(e *env, certificate func() *tls.Certificate) {
	var hellos atomic.Int32
	s := newUnstartedWeChat()
	// Not StartTLS, which has a certificate of its own.
	s.Listener = tls.NewListener(s.Listener, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			hellos.Add(1)
			return certificate(), nil
		},
	})
	s.Start()
	e.closers = append(e.closers, s.close)
	e.hosts = []string{"https://" + secureName}
	e.dialTo(func(string) string { return s.Listener.Addr().String() })
	pool := x509.NewCertPool()
	pool.AddCert(authorities().known.cert)
	e.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	e.unit, e.tries = "handshake", func() int { return int(hellos.Load()) }
}
