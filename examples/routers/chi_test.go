package routers

import (
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

// Handle takes all methods. Of chi's middleware, keep AllowContentType and Throttle
// away from pushes.
func withChi(pushes http.Handler) http.Handler {
	router := chi.NewRouter()
	router.Use(middleware.Recoverer)
	router.Handle("/wechat", pushes)
	return router
}

func Example_chi() {
	tryOut(withChi)
	// Output:
	// URL verification: <nil>
	// event: subscribe by o-ann at poster-7
	// answered: 200 at try 1
}
