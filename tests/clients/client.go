// Go's net/http.
package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

func client(credentials bool) *http.Client {
	proxy := &url.URL{Scheme: "http", Host: os.Getenv("PROXY")}
	if credentials {
		proxy.User = url.UserPassword(os.Getenv("PROXY_USER"), os.Getenv("PROXY_PASSWORD"))
	}
	pem, err := os.ReadFile(os.Getenv("CA"))
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &http.Client{Transport: &http.Transport{
		Proxy:             http.ProxyURL(proxy),
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}}
}

func small(c *http.Client, origin string) {
	answer, err := c.Get(origin + "/small")
	if err != nil {
		// What the proxy said to a CONNECT is in the error alone.
		if strings.Contains(err.Error(), "Proxy Authentication Required") {
			fmt.Println("407")
		} else {
			fmt.Println(err)
		}
		return
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	if answer.StatusCode == 200 {
		fmt.Println(answer.StatusCode, string(body))
	} else {
		fmt.Println(answer.StatusCode)
	}
}

func main() {
	names := []string{"forward", "connect"}
	origins := map[string]string{"forward": os.Getenv("HTTP"), "connect": os.Getenv("HTTPS")}
	scenario, way, _ := strings.Cut(os.Getenv("SCENARIO"), "-")
	switch scenario {
	case "forward", "connect":
		small(client(true), origins[scenario])
	case "auth":
		small(client(false), origins[way])
		small(client(true), origins[way])
	case "keep":
		c := client(true)
		for i := 0; i < 5; i++ {
			small(c, origins[way])
		}
	case "download":
		for _, name := range names {
			answer, err := client(true).Get(origins[name] + "/big")
			if err != nil {
				fmt.Println(err)
				continue
			}
			digest := sha256.New()
			io.Copy(digest, answer.Body)
			fmt.Printf("%d %x\n", answer.StatusCode, digest.Sum(nil))
		}
	case "upload":
		for _, name := range names {
			file, err := os.Open(os.Getenv("FILE"))
			if err != nil {
				panic(err)
			}
			// Without a length: in chunks.
			answer, err := client(true).Post(origins[name]+"/upload", "application/octet-stream", io.NopCloser(file))
			if err != nil {
				fmt.Println(err)
				continue
			}
			body, _ := io.ReadAll(answer.Body)
			fmt.Println(answer.StatusCode, string(body))
		}
	}
}
