package routers

import (
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

// Handle accepts all methods. Do not use the middleware AllowContentType and
// Throttle for pushes.
func withChi(pushes http.Handler) http.Handler {
	router := chi.NewRouter()
	router.Use(middleware.Recoverer)
	router.Handle("/wechat", pushes)
	return router
}

func Example_chi() {
	verifyAndPush(withChi)
	// Output:
	// URL verification: <nil>
	// event: subscribe by o-ann at poster-7
	// response: 200 after 1 try
}
