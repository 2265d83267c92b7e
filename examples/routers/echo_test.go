package routers

import (
	"net/http"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
)

// Any accepts all methods. Do not use the middleware CSRF, KeyAuth, RateLimiter
// and AddTrailingSlash for pushes.
func withEcho(pushes http.Handler) http.Handler {
	router := echo.New()
	router.Use(middleware.Recover())
	router.Any("/wechat", echo.WrapHandler(pushes))
	return router
}

func Example_echo() {
	verifyAndPush(withEcho)
	// Output:
	// URL verification: <nil>
	// event: subscribe by o-ann at poster-7
	// response: 200 after 1 try
}
