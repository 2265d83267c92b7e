package routers

import (
	"net/http"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
)

// Any takes all methods. Of echo's middleware, keep CSRF, KeyAuth, RateLimiter and
// AddTrailingSlash away from pushes.
func withEcho(pushes http.Handler) http.Handler {
	router := echo.New()
	router.Use(middleware.Recover())
	router.Any("/wechat", echo.WrapHandler(pushes))
	return router
}

func Example_echo() {
	tryOut(withEcho)
	// Output:
	// URL verification: <nil>
	// event: subscribe by o-ann at poster-7
	// answered: 200 at try 1
}
