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

// authorities returns one that the clients trust and one that they do not.
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

// tlsHost is the host name in the certificates.
const tlsHost = "wechat.test"

// sign returns a certificate for tlsHost, modified by change.
func (a authority) sign(change func(*x509.Certificate)) *tls.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "wechat"}, DNSNames: []string{tlsHost},
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
		{name: "certificate for another host", attempts: 1, matches: as[x509.HostnameError], inject: presenting(a.known.sign(func(c *x509.Certificate) {
			c.DNSNames = []string{"other.test"}
		}))},
		{name: "certificate of an unknown authority", attempts: 1, matches: as[x509.UnknownAuthorityError], inject: presenting(a.unknown.sign(unchanged))},
		{name: "expired certificate", attempts: 1, matches: as[x509.CertificateInvalidError], inject: presenting(a.known.sign(func(c *x509.Certificate) {
			c.NotAfter = time.Now().Add(-time.Minute)
		}))},
	}
}

// presenting makes the server present another certificate.
func presenting(wrong *tls.Certificate) func(*env) {
	return func(e *env) {
		var shown atomic.Pointer[tls.Certificate]
		shown.Store(wrong)
		right := authorities().known.sign(func(*x509.Certificate) {})
		secure(e, func() *tls.Certificate { return shown.Load() })
		e.endFault = func() { shown.Store(right) }
	}
}

// secure makes the server use HTTPS, with the certificate returned for each handshake.
func secure(e *env, certificate func() *tls.Certificate) {
	var hellos atomic.Int32
	s := newUnstartedWeChat()
	// StartTLS would use its own certificate.
	s.Listener = tls.NewListener(s.Listener, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			hellos.Add(1)
			return certificate(), nil
		},
	})
	s.Start()
	e.closers = append(e.closers, s.close)
	e.hosts = []string{"https://" + tlsHost}
	e.dialTo(func(string) string { return s.Listener.Addr().String() })
	pool := x509.NewCertPool()
	pool.AddCert(authorities().known.cert)
	e.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	e.unit, e.attempts = "handshake", func() int { return int(hellos.Load()) }
}
